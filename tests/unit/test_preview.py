"""The preview's page: all of it in one file that can be passed on."""

from pathlib import Path

from PIL import Image

from tests.support.issues import compiled, load_issue_file
from worker.editorial.preview import preview_html


def test_a_preview_of_heavy_pictures_stays_light_and_moves_once(tmp_path: Path) -> None:
    # Given a photograph of the size that is sent, and an animation
    soft = Image.effect_noise((60, 40), 90).resize((1200, 800), Image.Resampling.BICUBIC)
    Image.merge("RGB", (soft, soft.transpose(Image.Transpose.ROTATE_180), soft)).save(
        tmp_path / "photo.jpg", quality=98
    )
    frames = [Image.effect_noise((300, 200), 90).convert("P") for _ in range(4)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "a.md").write_text(
        "---\nkind: newsletter\npublication: ring-news\nsubject: Heavy pictures\n---\n"
        "![a](photo.jpg)\n\n![b](moves.gif)\n",
        "utf-8",
    )

    issue, media = load_issue_file(tmp_path / "a.md")
    page = preview_html(compiled(issue, media), media.values(), {"unsubscribe_url": "https://example.org/u"})

    assert sum(len(item.data) for item in media.values()) > 300_000
    assert page.count("data:image/gif") == 1
    assert page.count("data:image/") == 8
    assert "/media/" not in page
    assert len(page) < 1_200_000
