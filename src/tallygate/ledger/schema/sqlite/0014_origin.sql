-- Who told what a step had cost: the agent that made it, or a record that it does not keep. What an agent reports of
-- itself lowers no reservation. None for samples from before: what is known of their calls says it.
ALTER TABLE calibration_sample ADD COLUMN origin TEXT CHECK (origin IN ('reported', 'observed'));
