"""Sentences about issue files, their pictures, lint, preview and proof. Pure."""

from collections.abc import Callable, Sequence

_PLACES = {
    "front_matter": "the front matter",
    "newsletter": "a newsletter",
    "statement": "a statement",
    "lead": "the lead story",
    "card": "a card",
    "image": "an image",
    "figure": "a figure",
    "signatory": "signatory",
    "enclosure": "an enclosure",
    "lint": "lint",
}


def _place(where: str) -> str:
    """`cards.2` is the third card."""
    return f"card {int(where[6:]) + 1}" if where.startswith("cards.") else _PLACES[where]


def _unknown_key(key: str, where: str, near: str, known: Sequence[str]) -> str:
    hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
    return f"{key} is not a key of {_place(where)}; {hint}"


_CONSTRUCTS = {
    "Call": "a call",
    "Getattr": "a dot after a name",
    "Getitem": "an index in brackets",
    "Assign": "set",
}
_FILTER_SHAPES = {
    "default": '| default("text")',
    "upper": "| upper",
    "lower": "| lower",
    "title": "| title",
    "truncate": "| truncate(40), with 1 to {limit} characters",
    "date": "| date",
}


def _unreadable_tag(at: str, known: Sequence[str]) -> str:
    trouble = f"a tag cannot be read at {at}" if at else "a tag is not written as it should be"
    return f"{trouble}; a tag is {{{{ name }}}} or {{% word … %}}, with: {', '.join(known)}"


SENTENCES: dict[str, str | Callable[..., str]] = {
    "issue_file.missing": "{path} does not exist; check the name and the folder",
    "issue_file.unreadable": "{path} cannot be read ({reason}); check what it is and who may read it",
    "issue_file.too_large": "{path} is larger than {limit_mb} MB; an issue is text, pictures are files",
    "issue_file.too_many_media": "{path} names {number} pictures and files, more than {limit}; split the issue",
    "issue_file.malformed": "{path} line {line}: {problem}",
    # What may be malformed
    "text.not_utf8": "the text is not UTF-8; save the file as UTF-8",
    "text.too_long": "the file is longer than {limit} characters; an issue is text, not data",
    "text.control_character": "the control character U+{character:04X} stands in the text; delete it",
    "front_matter.missing": (
        "the file does not start with ---; put kind, publication and subject between two --- lines"
    ),
    "front_matter.never_closed": "the front matter is never closed; add a line --- after its last key",
    "front_matter.unreadable": "the front matter is not YAML that can be read; look for stray brackets",
    "front_matter.empty": "the front matter is empty; it needs kind, publication and subject",
    "front_matter.without_keys": "the front matter must be keys with values, such as subject: …",
    "yaml.too_deep": "values are nested more than {limit} deep; write them flatter",
    "yaml.anchor": "anchors and aliases (& and *) are not used here; put quotes around the value",
    "yaml.tag": "tags (!) are not used here; put quotes around the value",
    "yaml.colon_in_value": "a value contains a colon followed by a blank; put quotes around the whole value",
    "yaml.tab": "a tab stands where blanks are needed; indent with blanks",
    "yaml.list_never_closed": "a list that begins with [ is never closed; add ] or put quotes around the value",
    "yaml.group_never_closed": ("a group that begins with {{ is never closed; add }} or put quotes around the value"),
    "yaml.quote_never_closed": "a quote is opened here and never closed; add the closing one",
    "yaml.colon_missing": ("this line has no colon; write key: value, or indent it below the key it belongs to"),
    "yaml.reserved_character": (
        "a value begins with a character that YAML keeps for itself; put quotes around the whole value"
    ),
    "yaml.misplaced_line": (
        "this line does not fit those above it; indent it like its neighbours, and check dashes and quotes"
    ),
    "yaml.unreadable_line": "this line cannot be read; check indentation, dashes and quotes",
    "key.not_a_word": "a key must be a plain word; put quotes around a value that starts with {{",
    "key.twice": "{key} stands twice (first in line {first_line}); keep one of them",
    "key.unknown": _unknown_key,
    "key.missing": lambda key, where: f"{_place(where)} has no {key}; add a line {key}: …",
    "key.empty": lambda key, where: f"{key} of {_place(where)} is empty; write it or remove the entry",
    "key.not_a_text": "{key} must be one text; put quotes around a value that starts with {{ or [",
    "key.not_a_group": "{key} must be a group of keys, indented below it",
    "key.not_a_list": "{key} must be a list; start each entry with a dash",
    "key.entry_not_a_group": "an entry of {key} must be a group of keys, the first one after the dash",
    "kind.unknown": lambda kind, known: f'kind "{kind}" does not exist; write {" or ".join(known)}',
    "slug.unusable": 'slug "{slug}" cannot be used; write a-z, digits and single hyphens, at most {limit}',
    "slug.none_in_name": "the file name has no letter a-z or digit to make a slug of; add a line slug: …",
    "slug.ambiguous": 'slug "{slug}" would be read as another issue; add a line slug: … with other words',
    "waiver.no_finding": "lint: allow takes finding codes such as W403",
    "waiver.no_reason": "lint: allow needs why: one sentence that says why the finding is accepted",
    "cards.too_many": "{number} cards are more than {limit}; split the issue",
    "image.decorative_unclear": 'decorative "{value}" must be true or false',
    "image.not_pixels": '{key} "{value}" must be whole pixels from 1 to {limit}',
    "enclosure.not_one_target": "an enclosure needs either link: … or file: …, and not both",
    # Tags and blocks in a text
    "tag.text_too_long": "the text is longer than {limit} characters",
    "tag.private_use": "the text contains the private-use character U+E000 or U+E001",
    "tag.without_opening": "{{% {tag} %}} stands without its {{% {opening} … %}}",
    "tag.unknown": lambda tag, known: f"the tag {{% {tag} %}} is not known; allowed: {', '.join(known)}",
    "tag.never_closed": "{{% {tag} … %}} is never closed; add {{% end{tag} %}}",
    "tag.left_open": "{tag} is never closed",
    "tag.odd_character": "the character {character} cannot stand in a tag",
    "tag.unreadable": _unreadable_tag,
    "tag.nested_endlessly": "the tags are nested too deeply",
    "tag.nested_too_deep": "tags are nested more than {limit} deep",
    "tag.expression_too_deep": "an expression is nested too deeply",
    "tag.number_too_long": "a number in a tag is too long",
    "tag.not_allowed": lambda construct: (
        f"{_CONSTRUCTS.get(construct, construct.lower())} is not part of the template language here"
    ),
    "tag.for_in_for": "a for inside a for is not allowed",
    "tag.for_misused": "a for may only say: for word in value",
    "tag.without_default": '{{{{ {name} }}}} has no default: write {{{{ {name} | default("…") }}}}',
    "tag.odd_value": "only texts and whole numbers may be written in a tag",
    "tag.odd_comparison": "values may only be compared with == and !=",
    "tag.filter_unknown": lambda name, known: f"the filter {name} does not exist: use one of {', '.join(known)}",
    "tag.filter_overfull": "the filter {name} is written with more than it takes",
    "tag.filter_misused": lambda name, limit: (
        f"the filter {name} is written {_FILTER_SHAPES[name].format(limit=limit)}"
    ),
    "tag.sets_a_value": "a template may not set a value",
    "tag.name_unknown": lambda name, known: f"{name} is not known: use one of {', '.join(known)}",
    "tag.belongs_to_layout": lambda names: f"{', '.join(names)} belong to the layout, not to the text",
    "tag.in_attribute": (
        "{tag} stands inside a link address or another attribute, where reader values are not allowed"
    ),
    "tag.across_elements": "{opening} opens in one paragraph, list item or cell and {tag} stands in another",
    "tag.would_be_lost": "{tag} stands where it would be lost, such as in a link address",
    "tag.moved_by_styles": "the CSS inliner moved a tag; simplify the markup around it",
    "tag.lost_in_text_part": ("a condition lost one of its tags in the text part; keep it inside one paragraph"),
    "block.unknown": '"{block}" is not known; write ::: figure, ::: figure 2, ::: quote or ::: cards',
    "block.quote_never_closed": "::: quote of line {line} is not closed; end it with a line of :::",
    "figure.personal": "a caption or credit cannot hold a reader's value; its page is for all",
    "figure.without_entry": "::: figure {number} has no entry of its own in figures",
    "enclosure.file_missing": "the enclosed file {file} is missing",
    # Pictures and files
    "media.missing": "the file is missing",
    "media.outside_folder": "{src} lies outside the folder of the issue; move it there",
    "media.unreadable": "{path} cannot be read ({reason}); check the name and its folder",
    "media.too_large": "{path} is larger than {limit_mb} MB; make it smaller or link to it elsewhere",
    "media.kind_not_hosted": lambda path, known: (
        f"{path} is of a kind that is not hosted; use one of {', '.join(known)}"
    ),
    "media.too_many_pixels": "{path} has {width} × {height} pixels, more than {limit}; make it smaller",
    "media.not_a_picture": "{path} is not a picture that can be used; save it as PNG, JPEG or GIF",
    "media.damaged": "{path} is damaged; save it again as PNG, JPEG or GIF",
    "media.animation_too_large": "an animated GIF of {frames} pictures is too large; make it shorter or smaller",
    # Lint
    "finding.media_unusable": "{src} cannot be used: {cause}",
    "finding.accepted": "{finding} (accepted: {why})",
    "dkim.key_missing": "run corranto dkim create {domain}",
}
