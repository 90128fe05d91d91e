"""What the layouts say by themselves, in eight languages; English, marked as such, for all others. Pure."""

from dataclasses import dataclass, fields

RIGHT_TO_LEFT = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})


@dataclass(frozen=True)
class Wording:
    """One language's strings. {title}, {date}, {name}, {place}, {kind}, {size} and {url} are filled in by layouts."""

    language: str
    unsubscribe: str
    view: str
    reason: str
    reason_dated: str
    read_more: str
    larger: str
    privacy: str
    on_the_web: str
    enclosures: str
    signature_of: str
    portrait_of: str
    picture: str
    leave: str

    @property
    def dir(self) -> str:
        return direction(self.language)


def direction(language: str) -> str:
    """`rtl` or `ltr` for a BCP 47 tag; a script subtag decides before the language does."""
    parts = language.lower().split("-")
    if any(part in ("arab", "hebr", "thaa", "syrc") for part in parts[1:]):
        return "rtl"
    return "rtl" if parts[0] in RIGHT_TO_LEFT and "latn" not in parts else "ltr"


def wording_for(language: str) -> Wording:
    """The strings of the nearest language: the tag itself, its language alone, else English."""
    tag = language.lower()
    if tag.startswith("zh") and not any(word in tag for word in ("hant", "tw", "hk", "mo")):
        return _CATALOGUE["zh-Hans"]
    return _CATALOGUE.get(tag.split("-")[0], _CATALOGUE["en"])


_EN = Wording(
    language="en",
    unsubscribe="Unsubscribe",
    view="View in browser",
    reason="You get this because you asked for {title}.",
    reason_dated="You get this because you asked for {title} on {date}.",
    read_more="Read more",
    larger="Click to view larger version",
    privacy="Privacy",
    on_the_web="Read this statement on the web",
    enclosures="Enclosures",
    signature_of="Signature of {name}",
    portrait_of="Portrait of {name}",
    picture="Picture",
    leave="This page is the same for everyone. To stop getting {title}, use the link in your mail or go to {url}",
)

_OTHERS = (
    (
        "fr", "Se désabonner", "Voir dans le navigateur",
        "Vous recevez ce message parce que vous avez demandé {title}.",
        "Vous recevez ce message parce que vous avez demandé {title} le {date}.",
        "Lire la suite", "Cliquer pour voir en plus grand", "Confidentialité",
        "Lire cette déclaration sur le web", "Pièces jointes en ligne",
        "Signature de {name}", "Portrait de {name}", "Image",
        "Cette page est la même pour tous. Pour ne plus recevoir {title}, suivez le lien de votre message ou {url}",
    ),
    (
        "zh-Hans", "退订", "在浏览器中查看",
        "您收到此邮件，是因为您订阅了{title}。",
        "您收到此邮件，是因为您于{date}订阅了{title}。",
        "阅读全文", "点击查看大图", "隐私",
        "在网页上阅读本声明", "附件",
        "{name}的签名", "{name}的照片", "图片",
        "此页面对所有人相同。如不想再收到{title}，请使用邮件中的链接或访问 {url}",
    ),
    (
        "ru", "Отписаться", "Открыть в браузере",
        "Вы получили это письмо, потому что подписались на «{title}».",
        "Вы получили это письмо, потому что подписались на «{title}» {date}.",
        "Читать далее", "Нажмите, чтобы увеличить", "Конфиденциальность",
        "Читать это заявление на сайте", "Приложения",
        "Подпись: {name}", "Портрет: {name}", "Изображение",
        "Эта страница одинакова для всех. Чтобы больше не получать «{title}», откройте ссылку в письме или {url}",
    ),
    (
        "ko", "수신 거부", "브라우저에서 보기",
        "{title} 구독을 신청하셨기 때문에 이 메일을 보내 드립니다.",
        "{date}에 {title} 구독을 신청하셨기 때문에 이 메일을 보내 드립니다.",
        "더 읽기", "클릭하면 크게 볼 수 있습니다", "개인정보 보호",
        "웹에서 이 성명 읽기", "첨부 자료",
        "{name}의 서명", "{name}의 사진", "그림",
        "이 페이지는 모두에게 같습니다. {title} 수신을 그만두려면 메일의 링크를 누르거나 다음 주소로 가세요: {url}",
    ),
    (
        "hi", "सदस्यता समाप्त करें", "ब्राउज़र में देखें",
        "आपको यह इसलिए मिला है क्योंकि आपने {title} माँगा था।",
        "आपको यह इसलिए मिला है क्योंकि आपने {date} को {title} माँगा था।",
        "और पढ़ें", "बड़ा चित्र देखने के लिए क्लिक करें", "गोपनीयता",
        "यह वक्तव्य वेब पर पढ़ें", "संलग्न सामग्री",
        "{name} के हस्ताक्षर", "{name} का चित्र", "चित्र",
        "यह पृष्ठ सबके लिए एक जैसा है। {title} बंद करने के लिए अपने मेल का लिंक खोलें या यहाँ जाएँ: {url}",
    ),
    (
        "ja", "配信停止", "ブラウザーで表示",
        "「{title}」の配信を希望されたため、このメールをお送りしています。",
        "{date}に「{title}」の配信を希望されたため、このメールをお送りしています。",
        "続きを読む", "クリックすると拡大表示します", "プライバシー",
        "この声明をウェブで読む", "添付資料",
        "{name}の署名", "{name}の写真", "画像",
        "このページはすべての方に共通です。「{title}」の配信停止は、メール内のリンクか次のページからどうぞ: {url}",
    ),
    # One text a line: editors show several right-to-left texts on one line in a confusing order.
    (
        "ar",
        "إلغاء الاشتراك",
        "عرض في المتصفح",
        "تصلك هذه الرسالة لأنك طلبت {title}.",
        "تصلك هذه الرسالة لأنك طلبت {title} في {date}.",
        "اقرأ المزيد",
        "انقر لعرض صورة أكبر",
        "الخصوصية",
        "اقرأ هذا البيان على الويب",
        "المرفقات",
        "توقيع {name}",
        "صورة {name}",
        "صورة",
        "هذه الصفحة واحدة للجميع. لإيقاف {title} استخدم الرابط في رسالتك أو اذهب إلى {url}",
    ),
)  # fmt: skip
"""In the order of the fields."""

_NAMES = [field.name for field in fields(Wording)]
_CATALOGUE = {"en": _EN} | {row[0]: Wording(**dict(zip(_NAMES, row, strict=True))) for row in _OTHERS}
