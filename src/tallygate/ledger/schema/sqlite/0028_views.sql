-- What other programs may rely on (docs/guides/export.md): views with a version in their name, which only ever gain
-- columns at their end. Nothing here reads them, and they cost nothing until somebody does.

CREATE VIEW tally_spend_v1 AS
SELECT u.tenant AS tenant, 'response' AS kind, u.at_us AS at_us,
  strftime('%Y-%m-%dT%H:%M:%SZ', u.at_us / 1000000, 'unixepoch') AS at_utc,
  u.client AS client, u.client_session AS client_session, u.session_id AS session_id, u.call_id AS call_id,
  u.response_key AS response, u.model AS model, u.provider AS provider, u.agent_id AS agent, NULL AS tool,
  u.project AS folder, u.fresh_input AS fresh_input_tokens, u.cache_read AS cache_read_tokens,
  u.cache_write_5m AS cache_write_5m_tokens, u.cache_write_1h AS cache_write_1h_tokens, u.output AS output_tokens,
  u.reasoning AS reasoning_tokens, u.web_searches AS web_searches,
  u.cost_nanos AS cost_nanos, u.cost_nanos / 1000000000.0 AS cost_usd,
  'observed' AS basis, u.quality AS quality, u.rule AS rule,
  CASE WHEN json_extract(p.basis, '$.source') = 'assumed' THEN 'assumed'
    WHEN json_extract(p.basis, '$.approximate') OR NOT json_extract(p.basis, '$.known') THEN 'approximate'
    ELSE 'known' END AS certainty,
  u.price_id AS price_id, json_extract(p.basis, '$.key') AS price_key,
  json_extract(p.basis, '$.source') AS price_source, json_extract(p.basis, '$.version') AS price_version,
  u.agent_type AS agent_type, u.skill AS skill, u.served AS served, u.branch AS branch, u.repository AS repository
FROM usage u LEFT JOIN price p ON p.tenant = u.tenant AND p.price_id = u.price_id
UNION ALL
SELECT c.tenant, 'call', c.at_us, strftime('%Y-%m-%dT%H:%M:%SZ', c.at_us / 1000000, 'unixepoch'),
  COALESCE(c.asked_by, s.client), NULL, c.session_id, c.call_id, NULL, COALESCE(c.model_used, c.model_requested), NULL,
  COALESCE(c.actor_name, c.actor_id), c.tool_name, COALESCE(c.folder, s.project),
  COALESCE(c.fresh_input, c.prompt_tokens), COALESCE(c.cache_read, 0), COALESCE(c.cache_write_5m, 0),
  COALESCE(c.cache_write_1h, 0), COALESCE(c.output, c.completion_tokens), 0, 0,
  c.booked_nanos, c.booked_nanos / 1000000000.0,
  CASE WHEN c.cost_basis = 'actual' THEN 'reported' ELSE 'estimated' END, NULL, NULL,
  CASE WHEN json_extract(p.basis, '$.source') = 'assumed' THEN 'assumed'
    WHEN json_extract(p.basis, '$.approximate') OR NOT json_extract(p.basis, '$.known') THEN 'approximate'
    ELSE 'known' END,
  COALESCE(c.actual_price_id, c.price_id), json_extract(p.basis, '$.key'), json_extract(p.basis, '$.source'),
  json_extract(p.basis, '$.version'), NULL, NULL, NULL, NULL, NULL
FROM call c JOIN session s ON s.tenant = c.tenant AND s.session_id = c.session_id
LEFT JOIN price p ON p.tenant = c.tenant AND p.price_id = COALESCE(c.actual_price_id, c.price_id)
WHERE c.cost_basis IN ('actual', 'estimate');

CREATE VIEW tally_sessions_v1 AS
SELECT s.tenant AS tenant, s.session_id AS session_id, s.client AS client, s.model AS model, s.state AS state,
  s.project AS folder, s.parent_session_id AS parent_session_id, s.currency AS currency, s.started_us AS started_us,
  strftime('%Y-%m-%dT%H:%M:%SZ', s.started_us / 1000000, 'unixepoch') AS started_at,
  strftime('%Y-%m-%dT%H:%M:%SZ', s.ended_us / 1000000, 'unixepoch') AS ended_at, s.end_cause AS end_cause,
  (SELECT COUNT(*) FROM usage u WHERE u.tenant = s.tenant AND u.session_id = s.session_id) AS responses,
  (SELECT COUNT(*) FROM call c WHERE c.tenant = s.tenant AND c.session_id = s.session_id AND c.state = 'denied') AS halts,
  (SELECT COALESCE(SUM(u.cost_nanos), 0) FROM usage u WHERE u.tenant = s.tenant AND u.session_id = s.session_id)
  + (SELECT COALESCE(SUM(c.booked_nanos), 0) FROM call c WHERE c.tenant = s.tenant AND c.session_id = s.session_id
     AND c.cost_basis IN ('actual', 'estimate')) AS cost_nanos
FROM session s;

CREATE VIEW tally_budgets_v1 AS
SELECT b.tenant AS tenant, b.budget_id AS budget_id, b.scope AS scope, b.scope_key AS scope_key, b.period AS period,
  b.unit AS unit, b.mode AS mode, b.limit_nanos / b.whole AS limit_amount, b.spent_nanos / b.whole AS spent_amount,
  b.reserved_nanos / b.whole AS reserved_amount, (b.limit_nanos - b.spent_nanos - b.reserved_nanos) / b.whole AS left_amount,
  strftime('%Y-%m-%dT%H:%M:%SZ', b.start_us / 1000000, 'unixepoch') AS starts_at,
  strftime('%Y-%m-%dT%H:%M:%SZ', b.resets_us / 1000000, 'unixepoch') AS resets_at,
  strftime('%Y-%m-%dT%H:%M:%SZ', b.touched_us / 1000000, 'unixepoch') AS touched_at
FROM (SELECT *, CASE WHEN unit IN ('tokens', 'calls') THEN 1 ELSE 1000000000.0 END AS whole FROM budget) b;

CREATE VIEW tally_decisions_v1 AS
SELECT c.tenant AS tenant, c.call_id AS call_id, c.session_id AS session_id, c.at_us AS at_us,
  strftime('%Y-%m-%dT%H:%M:%SZ', c.at_us / 1000000, 'unixepoch') AS at_utc, c.action AS action, c.reason AS reason,
  c.state AS state, c.tool_name AS tool, c.model_requested AS model, c.model_target AS target_model,
  c.actor_type AS actor_type, COALESCE(c.actor_name, c.actor_id) AS agent,
  c.raw_estimate_nanos / 1000000000.0 AS said_usd, c.estimate_nanos / 1000000000.0 AS reserved_usd,
  c.booked_nanos / 1000000000.0 AS booked_usd, c.observed_nanos / 1000000000.0 AS observed_usd
FROM call c;
