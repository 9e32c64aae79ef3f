-- What was refused and rerouted, and which limits were passed: few among many, found by their time without the others.
CREATE INDEX call_not_allowed ON call (tenant, at_us, action) WHERE action <> 'allow';
CREATE INDEX budget_passed ON budget (tenant, touched_us) WHERE spent_nanos > limit_nanos;
