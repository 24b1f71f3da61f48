-- The generation of a view whose rows and events were found not to fit; 0 for none. Which of the two is wrong is for
-- people to say: until then nobody reads the view. A newer generation is not disputed.
ALTER TABLE views.cursors ADD COLUMN disputed_generation integer NOT NULL DEFAULT 0;

CREATE FUNCTION views.is_disputed(cursor views.cursors) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT cursor.disputed_generation = cursor.generation
$$;
