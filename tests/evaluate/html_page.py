"""What tests look at in an HTML page."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "path", "circle", "line"}  # SVG's shapes are closed in place


class Page(HTMLParser):
    """Tags, attributes and text; every tag must be closed."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.source = text
        self.feed(text)
        assert not self.open, f"unclosed: {self.open}"

    @classmethod
    def of(cls, path):
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())
