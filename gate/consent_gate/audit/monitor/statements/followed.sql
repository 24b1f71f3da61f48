-- How far the log was followed.
-- parameters: none
-- columns: origin text, log text, position integer, keys blob, book blob
-- errors: none
-- locks: none
SELECT origin, log, position, keys, book FROM followed
