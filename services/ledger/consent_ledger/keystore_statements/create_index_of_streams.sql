-- Find the keys of a stream.
-- parameters: none
-- columns: none
-- errors: none
-- locks: the file, held already by begin
CREATE INDEX IF NOT EXISTS keys_of_stream ON keys (stream) WHERE stream IS NOT NULL
