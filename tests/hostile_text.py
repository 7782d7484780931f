"""Texts that are markup, script, style or template to whoever does not escape them.

Promise: whatever of them runs sets `window.__xss` or asks a dialog; whatever of them becomes an element carries the
attribute `data-xss` or is one of `FOREIGN`, so that even an injection that no policy lets run is seen.
"""

from __future__ import annotations

RUN = "window.__xss=1"
MARKUP = (
    f"<script data-xss>{RUN}</script>",
    f"</script><script data-xss>{RUN}</script>",
    f"</title><script data-xss>{RUN}</script>",
    f"</textarea><script data-xss>{RUN}</script>",
    f"</template><script data-xss>{RUN}</script>",
    f"<ScRiPt data-xss>{RUN}</sCrIpT >",
    f"<img data-xss src=x onerror={RUN}>",
    f"<img data-xss src=x onerror=alert(1) {RUN}",
    f"<svg data-xss onload={RUN}>",
    f"<svg data-xss><script>{RUN}</script></svg>",
    f"<svg data-xss><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<math data-xss><mi xlink:href='javascript:{RUN}'>x",
    f"<iframe data-xss srcdoc='<script>{RUN}</script>'>",
    f"<iframe data-xss src=javascript:{RUN}></iframe>",
    f"<object data-xss data=javascript:{RUN}>",
    "<embed data-xss src=//evil.test/x.swf>",
    f"<details data-xss open ontoggle={RUN}>",
    f"<body data-xss onload={RUN}>",
    f"<input data-xss autofocus onfocus={RUN}>",
    f"<video data-xss><source onerror={RUN}></video>",
    f"<form data-xss action=javascript:{RUN}><button>x",
    "<base data-xss href=//evil.test/>",
    "<meta data-xss http-equiv=refresh content=0;//evil.test>",
    "<link data-xss rel=stylesheet href=//evil.test/x.css>",
    f"<a data-xss href=javascript:{RUN}>x</a>",
    "<!--><img data-xss src=x onerror=alert(1)>-->",
    "<style data-xss>*{background:url(//evil.test)}</style>",
)
ATTRIBUTES = (
    f'"><img data-xss src=x onerror={RUN}>',
    f"'><img data-xss src=x onerror={RUN}>",
    f'" onmouseover="{RUN}" data-xss="',
    f"' onfocus='{RUN}' autofocus data-xss='",
    f"` onclick=`{RUN}` data-xss=`",
    '" style="position:fixed;inset:0" data-xss="',
    'x" hx-get="/console/sign-in" hx-trigger="load" data-xss="',
    '"]}\' data-xss data-chart=\'{"kind":"bar"',
    "&quot;&gt;&lt;img data-xss src=x onerror=alert(1)&gt;",
    f"javascript:{RUN}",
    "data:text/html,<script>alert(1)</script>",
)
TEMPLATES = (
    "{{7*7}} {{config}}",
    "{% for x in ().__class__.__base__ %}x{% endfor %}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "{{constructor.constructor('alert(1)')()}}",
)
OTHERS = (
    f"[x](javascript:{RUN}) ![x](//evil.test/x.png)",
    "`code` **bold** <b data-xss>bold</b>",
    "\u202egnp.exe <b data-xss>\u2066\u200b",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    f"\u00bcscript data-xss\u00be{RUN}\u00bc/script\u00be",
    f"data: <img data-xss src=x onerror={RUN}> event: paint",
    "\\u003cimg data-xss src=x onerror=alert(1)\\u003e",
    "\\x3cimg data-xss src=x onerror=alert(1)\\x3e",
    "]]><img data-xss src=x onerror=alert(1)>",
    "); alert(1); //",
)
PAYLOADS = (*MARKUP, *ATTRIBUTES, *TEMPLATES, *OTHERS)
UNPRINTABLE = (
    f"a\n\ndata: <img data-xss src=x onerror={RUN}>\n\n",
    f"\r\nx-evil: 1\r\n\r\n<script data-xss>{RUN}</script>",
    "\x1b[31mred\x1b]0;title\x07 <b data-xss>",
    f"<img data-xss src=x\x00 onerror={RUN}>",
    "\ufeff<b data-xss>\u2028</b>",
)
"""Of these most fields take none; a prompt and its answer take all."""
EVERYTHING = (*PAYLOADS, *UNPRINTABLE)

FOREIGN = "iframe, object, embed, base, meta[http-equiv], [data-xss], style, script:not([src])"
SEEN = f"""() => ({{
  ran: Boolean(window.__xss),
  nodes: [...document.querySelectorAll({FOREIGN!r})].map((each) => each.outerHTML.slice(0, 160)),
  handlers: [...document.querySelectorAll("*")].flatMap((each) => [...each.attributes]).filter((each) =>
    /^on/.test(each.name)
    || (/^(href|src|action|formaction|xlink:href|data)$/.test(each.name) && /^\\s*javascript:/i.test(each.value)))
    .map((each) => `${{each.name}}=${{each.value}}`.slice(0, 160)),
  text: [document.documentElement.textContent,
    ...[...document.querySelectorAll("input, textarea, option")].map((each) => each.value),
    ...[...document.querySelectorAll("[title]")].map((each) => each.title)].join("\\n"),
}})"""
"""What a page is asked after it has settled."""
