"""The report as one HTML file: no request leaves it, no script is in it, and the same facts are the same
bytes."""

from typing import Any

from recsys.pipelines.ab.page import depth, evidence
from recsys.pipelines.ab.page.evidence import Facts
from recsys.pipelines.ab.page.marks import count, details, paragraph, tag, text

WORDS = {  # verdict -> the class of its colours, and what it says to somebody in a hurry
    "ship": ("ship", "Ship"),
    "do not ship": ("stop", "Do not ship"),
    "cannot tell yet": ("wait", "Cannot tell yet"),
    "cannot be trusted": ("sick", "Cannot be trusted"),
}
STYLE = """
:root{color-scheme:light;--ink:#1d1b16;--soft:#57534a;--paper:#fdfcf9;--rule:#ddd8cc;--wash:#f4f1ea;
--line:#1f4e8c}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.1rem;font-weight:600;margin:0 0 .75rem;color:var(--soft);overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.75rem 0 .5rem;padding-top:.75rem;border-top:1px solid var(--rule)}
h3{font-size:1rem;margin:1.25rem 0 .4rem;overflow-wrap:anywhere}
p{margin:.4rem 0 .8rem;max-width:46rem;overflow-wrap:anywhere}
.verdict{border-left:.5rem solid var(--tone);background:var(--wash);padding:1rem 1.25rem;margin:0 0 1.25rem}
.verdict .word{font-size:1.7rem;line-height:1.2;font-weight:700;color:var(--tone);margin:0 0 .4rem}
.verdict p{font-size:1.05rem;margin:.3rem 0}
.verdict .next{font-weight:600}
.ship{--tone:#14653a}.stop{--tone:#44403a}.wait{--tone:#855300}.sick{--tone:#a1221b}
nav ol{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;list-style:none;padding:0;margin:0;font-size:.95rem}
a{color:var(--line)}
dl{margin:.5rem 0;display:grid;gap:.15rem}
dl div{display:grid;grid-template-columns:minmax(9rem,14rem) 1fr;gap:.75rem;padding:.3rem 0;
border-bottom:1px solid var(--rule)}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:.75rem 0 1.25rem;font-size:.95rem}
caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--rule);vertical-align:top;text-align:right;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere;min-width:4.5rem}
thead th{color:var(--soft);font-weight:500}
.word{text-align:left}.state{text-align:left;white-space:nowrap}tbody th{font-weight:500}
.whole{white-space:nowrap}
code{font:.9em/1.4 ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.fault{border-left:.35rem solid #a1221b;padding:.1rem 0 .1rem 1rem;margin:1rem 0}
.todo{font-weight:600}
figure{margin:.75rem 0;max-width:34rem}svg{display:block;width:100%;height:auto;font-family:inherit}
svg text{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
.beside,.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:0 2rem;
align-items:start}
summary{cursor:pointer;color:var(--line);padding:.35rem 0}
.facts{display:flex;flex-wrap:wrap;gap:.25rem 1.5rem;margin:.25rem 0 1rem;color:var(--soft);max-width:none}
@media (max-width:40rem){
main{padding:1rem .9rem 3rem}
dl div{grid-template-columns:1fr;gap:0}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,th,td,caption{display:block;width:100%}
tbody tr{border-bottom:1px solid var(--rule);padding:.5rem 0}
tbody th{border:0;padding:0;text-align:left;font-weight:600}
td,td.state{border:0;padding:.1rem 0;text-align:left;display:grid;grid-template-columns:8.5rem 1fr;gap:.6rem;
white-space:normal}
td::before{content:attr(data-head);color:var(--soft)}
}
@media print{
body{font-size:10.5pt;background:#fff}main{max-width:none;padding:0}nav,summary{display:none}
.verdict{background:none;border:1.5pt solid var(--tone);border-left-width:8pt}
h2,h3{break-after:avoid}tr,figure,.fault{break-inside:avoid}
details:not([open])>*{display:block}details::details-content{content-visibility:visible;display:block}
}
"""


def page_of(facts: Facts) -> str:
    """The whole page, of what `facts_of` says; effects of a sick test are in it only where the facts have
    them."""
    kind, word = WORDS[facts["verdict"]]
    parts: list[tuple[str, str]] = [("Can it be trusted?", evidence.trust(facts))]
    shown = facts["effects"] is not None
    if facts["verdict"] != "cannot be trusted":
        parts += _effects(facts)
    elif shown:
        warned = paragraph("THE TEST IS SICK: what follows may be the effect of the fault alone.", "todo")
        inside = "".join(tag("h2", text(title)) + inner for title, inner in _effects(facts))
        parts.append(
            (
                "Effects of a sick test",
                details("Show them: to find the fault, not to decide", warned + inside),
            )
        )
    else:
        parts.append(("Effects", paragraph("They are not shown: they may be those of the fault.")))
        parts.append(("What differs between the lists?", evidence.lists(facts)))
    parts.append(("What was planned, and what was changed", depth.registration(facts)))
    parts.append(("Where does it come from?", depth.provenance(facts)))
    links = "".join(
        f'<li><a href="#part-{at}">{text(title)}</a></li>' for at, (title, _) in enumerate(parts, 1)
    )
    body = "".join(
        tag("section", f'<h2 id="heading-{at}">{text(title)}</h2>{inner}', id=f"part-{at}",
            aria_labelledby=f"heading-{at}")
        for at, (title, inner) in enumerate(parts, 1)
    )  # fmt: skip
    title = f"{facts['name']}: {facts['verdict']}"
    sentence = facts["sentence"]
    said = tag("p", text(word), class_="word") + paragraph(sentence) + paragraph(facts["next_step"], "next")
    banner = tag("div", said, class_=f"verdict {kind}")
    inner = tag("h1", f"Experiment {text(facts['name'])}") + banner + _in_short(facts)
    inner += tag("nav", f"<ol>{links}</ol>", aria_label="Parts of the report") + body
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src '
        "'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>{tag('main', inner)}</body></html>\n"
    )


def _effects(facts: Facts) -> list[tuple[str, str]]:
    sections = [
        ("What decides", evidence.primary(facts)),
        ("What must not be lost", evidence.guardrails(facts)),
    ]
    if others := evidence.others(facts):
        sections.append(("What else was looked at", others))
    return [
        *sections,
        ("What differs between the lists?", evidence.lists(facts)),
        ("Does it last?", depth.over_time(facts)),
        ("For whom?", depth.groups(facts)),
        ("Does it depend on how one looks?", depth.ways(facts)),
    ]


def _in_short(facts: dict[str, Any] | Facts) -> str:
    plan, days = facts["plan"], facts["days"]
    planned = "" if plan["people"] is None else f" of {count(plan['people'])} planned"
    whole = "" if days % 7 == 0 else " (no whole weeks)"
    said = [
        f"{count(facts['counted'])}{planned} people were followed for their {plan['window_days']:g} days",
        f"{count(facts['waiting'])} are still being followed",
        f"those who count came on {days} {'day' if days == 1 else 'days'}{whole}",
        "the planned end has come" if facts["ended"] else "the planned end has not come",
    ]
    return tag("p", "".join(tag("span", text(one)) for one in said), class_="facts")
