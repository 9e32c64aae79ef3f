-- Roles with the least that they need, for the schema that holds the ledger. Run by its owner, after each migration:
--   tallygate migrate --roles | psql "$DATABASE"
-- Servers log in as members of tallygate_writer; whoever only looks, of tallygate_reader. `tallygate migrate` itself is
-- run by the owner, whose rights no server needs. Nobody but the owner can change a table, and nobody an event.

DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tallygate_writer') THEN CREATE ROLE tallygate_writer; END IF;
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'tallygate_reader') THEN CREATE ROLE tallygate_reader; END IF;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, tallygate_writer, tallygate_reader;
GRANT USAGE ON SCHEMA public TO tallygate_writer, tallygate_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO tallygate_writer, tallygate_reader;

-- What happened is added to and stays as it is.
GRANT INSERT ON event, price, price_list, limit_change, signing_key, worktree, call_anomaly TO tallygate_writer;
-- What follows from it goes along with it.
GRANT INSERT, UPDATE ON session, budget, session_budget, call, loop, client_session, usage_anomaly, attestation, bill,
  bill_line, calibration_start, run_log_queue, session_check, transcript_file, alert, proof, rollup_key, share_key,
  day_key TO tallygate_writer;
GRANT INSERT, UPDATE, DELETE ON usage, calibration_sample, calibration_factor, rollup, share, day_share, unread_file,
  plan_window, plan_history TO tallygate_writer;
