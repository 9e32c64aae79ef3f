-- The few events that a lock of the limits is made of, and those that changed a limit, found without reading the others.
-- They begin with their time, who wrote them, and their kind: "kind":"lock. and "kind":"budget.limit_changed"
CREATE INDEX event_of_lock ON event (tenant, seq)
  WHERE instr(substr(body, 1, 400), X'226B696E64223A226C6F636B2E') > 0;

CREATE INDEX event_of_limit ON event (tenant, seq)
  WHERE instr(substr(body, 1, 400), X'226B696E64223A226275646765742E6C696D69745F6368616E67656422') > 0;
