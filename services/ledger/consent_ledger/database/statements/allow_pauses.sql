-- Let this transaction, which locks no row that anybody waits for, pause between its statements for as long as a busy host makes it.
-- parameters: none
-- columns: none
-- errors: none
-- locks: none
SET LOCAL idle_in_transaction_session_timeout = '2min'
