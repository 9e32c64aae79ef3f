"""What a statement of the ledger is in PostgreSQL: the same text in its words, by few rules, each worked out once.

Of some 180 statements nine in ten say the same in both once these rules are applied, so each stands once, beside what
it is for. Where SQLite has something that PostgreSQL lacks, `PASSAGES` holds what says the same there. The same tests
run on both, which is what keeps both true.
"""

from __future__ import annotations

import re

from tallygate.core.regex import regex

# Words of SQLite, and what PostgreSQL calls the same.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(found), said)
    for found, said in (
        # Marks of one value of a row; `?` is no operator in these texts.
        (r"%", "%%"),
        (r"(?<![:\w]):([a-z_]\w*)\b(?= IS NULL)", r"CAST(%(\1)s AS TEXT)"),
        (r"(?<![:\w]):([a-z_]\w*)\b", r"%(\1)s"),
        (r"\?", "%s"),
        # Hints to SQLite's planner. The other one has statistics.
        (r" INDEXED BY \w+", ""),
        (r"(?<=[ (])\+(?=\w+\.)", ""),
        (r"CROSS JOIN (\w+ \w+|\(SELECT 0 AS place.*?\) \w+) ON\b", r"JOIN \1 ON"),
        (r"\browid\b", "id"),
        (r"SELECT value FROM json_each\(([^)]*\)s)\)", r"SELECT json_array_elements_text(CAST(\1 AS json))"),
        (r"\bIS (%\(\w+\)s)", r"IS NOT DISTINCT FROM \1"),
        # SQLite's LIKE takes A for a.
        (r"\bLIKE\b", "ILIKE"),
        (r"(\w+) GLOB '\[1-9\]\*h'", r"\1 ~ '^[1-9].*h$'"),
        (r"\bifnull\(", "COALESCE("),
        (r"\b[xX]'([0-9A-F]*)'", r"CAST('\\x\1' AS bytea)"),
        (r"CAST\((%\(\w+\)s) AS BLOB\)", r"convert_to(\1, 'UTF8')"),
        (r"instr\(substr\(body, 1, 400\), (CAST\('[^']*' AS bytea\))\)", r"position(\1 IN substr(body, 1, 400))"),
        (r"instr\(([\w.]+), ((?:[^()]|\([^()]*(?:\([^()]*\)[^()]*)*\))+)\)", r"position(\2 IN \1)"),
        (r"substr\(([\w.]+), -length\(([^)]*\)s)\)\)", r"right(\1, length(\2))"),
        (
            r"json_array_length\(CASE WHEN json_valid\(served\) THEN served END\)",
            "json_array_length(CAST(served AS json))",
        ),
        (
            r"json_extract\(served, '\$\[' \|\| j\.place \|\| '\]\[(\d)\]'\)",
            r"(CAST(served AS json) -> CAST(j.place AS INTEGER) ->> \1)",
        ),
        (r"^INSERT OR IGNORE INTO (.*)$", r"INSERT INTO \1 ON CONFLICT DO NOTHING"),
    )
)  # fmt: skip

# Where SQLite takes the other columns of a group from the row of its one minimum or maximum, that row is chosen here;
# and what else has no word in both. Each is a passage of a statement, after the rules.
PASSAGES: tuple[tuple[str, str], ...] = (
    (
        "SELECT s.session_id, MAX(s.started_us) FROM client_session l",
        (
            "SELECT f.session_id, f.started_us FROM (SELECT DISTINCT ON (l.client, l.client_session) s.session_id,"
            " s.started_us FROM client_session l"
        ),
    ),
    (
        " GROUP BY l.client, l.client_session ORDER BY 2 DESC",
        " ORDER BY l.client, l.client_session, s.started_us DESC) f ORDER BY 2 DESC",
    ),
    (
        "SELECT call_id, model, agent_id, MAX(cost_nanos) FROM usage",
        "SELECT DISTINCT ON (call_id) call_id, model, agent_id FROM usage",
    ),
    (
        " AND call_id IS NOT NULL GROUP BY call_id), part",
        " AND call_id IS NOT NULL ORDER BY call_id, cost_nanos DESC, id), part",
    ),
    (
        " model, MAX(CASE WHEN model = '' THEN -1 ELSE cost_nanos END) FROM usage",
        " (array_agg(model ORDER BY CASE WHEN model = '' THEN -1 ELSE cost_nanos END DESC, id))[1], 0 FROM usage",
    ),
    (
        "(SELECT call_id, MIN(at_us) AS at_us, model, provider, client FROM usage",
        "(SELECT DISTINCT ON (call_id) call_id, at_us, model, provider, client FROM usage",
    ),
    (" AND call_id IS NOT NULL GROUP BY call_id) u", " AND call_id IS NOT NULL ORDER BY call_id, at_us, id) u"),
    (
        " GROUP BY f.path ORDER BY f.path",
        " GROUP BY f.path, f.client, f.client_session, f.why, f.unfinished, f.read_us ORDER BY f.path",
    ),
    (" GROUP BY c.session_id, 1, 2", " GROUP BY c.session_id, s.client, s.project, 1, 2"),
    ("MIN(usage_upto, ", "LEAST(usage_upto, "),
    ("(SELECT %(session_id)s", '(SELECT CAST(%(session_id)s AS TEXT) COLLATE "C"'),
    # Numbers of rows are given before a commit: the highest of all tenants' is no sign that nothing is new.
    ("(SELECT MAX(id) FROM calibration_sample)", "(SELECT MAX(id) FROM calibration_sample WHERE tenant = %(tenant)s)"),
    (
        "json_group_array(json_array(l.actual_nanos, l.origin))",
        "COALESCE(CAST(json_agg(json_build_array(l.actual_nanos, l.origin)) AS TEXT), '[]')",
    ),
    (
        "json_array(u.at_us, u.model, u.provider, u.speed)",
        "CAST(json_build_array(u.at_us, u.model, u.provider, u.speed) AS TEXT)",
    ),
    # Of one tenant among many the head is found by its number, not by going back through everybody's events.
    (
        "FROM event WHERE tenant = %(tenant)s ORDER BY id DESC LIMIT 1",
        "FROM event WHERE tenant = %(tenant)s ORDER BY seq DESC LIMIT 1",
    ),
    ("FROM event WHERE id >= %(seq)s AND tenant", "FROM event WHERE tenant"),
)
# Tables whose new row's number is asked for.
_NUMBERED = regex(r"INSERT INTO (event|rollup_key|share_key|day_key) \([^)]*\) VALUES \([^?]*\)$")

_KNOWN: dict[str, str] = {}


def postgres(sql: str) -> str:
    """A statement of SQLite's, with `:named` or `?` marks, as psycopg takes it."""
    known = _KNOWN.get(sql)
    if known is None:
        # Statements are made of constants of the program, so there are as many as there are, whoever asks.
        known = _KNOWN[sql] = _translated(sql)
    return known


def _translated(sql: str) -> str:
    text = f"{sql} RETURNING id" if _NUMBERED.match(sql) else sql
    for found, said in _RULES:
        text = found.sub(said, text)
    for passage, said in PASSAGES:
        text = text.replace(passage, said)
    return text
