-- What calls were booked at in a span of time, for reports: the calls of sessions whose client writes nothing down.

CREATE INDEX call_booked ON call (tenant, at_us) WHERE cost_basis IN ('actual', 'estimate');
