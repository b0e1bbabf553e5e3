"""The official suite of JSON Schema as SQL.

    json_schema.py SUITE

Each schema is given to a server with what it may refer to, and each test is a record
that names it.  The SQL writes a line for each draft, "failed ..." for each required
test that fails, and "known ..." for each file of optional ones of which some do.
"""
import glob
import json
import os
import sys

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
REMOTE = "http://localhost:1234/"
SUITE = sys.argv[1]


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def remotes():
    """What the suite expects to find at URLs: of all drafts, since some refer to others'."""
    found = []
    top = os.path.join(SUITE, "remotes")
    for folder, _, files in sorted(os.walk(top)):
        for name in sorted(files):
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                found.append({"name": REMOTE + os.path.relpath(path, top), "schema": file.read()})
    return found


def refs_of(draft, schema, found):
    """Those that a schema may lead to, none if it leads nowhere."""
    if REMOTE not in json.dumps(schema):
        return []
    shared = [ref for ref in found if not ref["name"][len(REMOTE):].startswith("draft")]
    own = [ref for ref in found if ref["name"][len(REMOTE):].startswith("draft") and "draft3" not in ref["name"]
           and "draft-next" not in ref["name"]]
    return shared + own


print("""
CREATE EXTENSION kafka_sink;
CREATE SERVER suite FOREIGN DATA WRAPPER kafka_sink OPTIONS (bootstrap_servers '127.0.0.1:1');
CREATE TABLE taken (v text);
CREATE TABLE tests (n serial PRIMARY KEY, draft text, file text, optional boolean, what text, schema int, data text, valid boolean, result text);
CREATE TABLE drafts (n serial PRIMARY KEY, draft text);
CREATE FUNCTION is_valid(schema int, data text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM kafka_sink.ingest('suite', ARRAY[ROW('t', 0, NULL, NULL, NULL, '\\x00' || int4send(schema) || convert_to(data, 'UTF8'), NULL)::kafka_sink.record]);
    RETURN 'valid';
EXCEPTION WHEN OTHERS THEN
    RETURN CASE WHEN SQLERRM = 'value does not match its JSON schema' THEN 'invalid' ELSE SQLSTATE || ' ' || SQLERRM END;
END$$;
BEGIN;
""")
found = remotes()
schemas = 0
for draft, uri in DRAFTS.items():
    print("INSERT INTO drafts (draft) VALUES (%s);" % quote(draft))
    top = os.path.join(SUITE, "tests", draft)
    for path in sorted(glob.glob(top + "/*.json") + glob.glob(top + "/optional/*.json")):
        with open(path, encoding="utf-8") as file:
            groups = json.load(file)
        for group in groups:
            schema = group["schema"]
            if isinstance(schema, dict) and "$schema" not in schema:
                schema = {"$schema": uri, **schema}
            schemas += 1
            print("SELECT kafka_sink.add_schema('suite', %d, 'JSON', %s, %s);" % (
                schemas, quote(json.dumps(schema)), quote(json.dumps(refs_of(draft, schema, found)))))
            for test in group["tests"]:
                print("INSERT INTO tests (draft, file, optional, what, schema, data, valid) VALUES (%s, %s, %s, %s, %d, %s, %s);" % (
                    quote(draft), quote(os.path.relpath(path, top)), "optional" in os.path.relpath(path, top),
                    quote(group["description"] + ": " + test["description"]), schemas,
                    quote(json.dumps(test["data"])), test["valid"]))
print("""
COMMIT;
SELECT kafka_sink.create_sink('suite', server => 'suite', target => 'taken', format => 'json_schema', validate => true, columns => '{"v": "@value"}', enabled => false);
UPDATE tests SET result = is_valid(schema, data);
SELECT d.draft || ': ' || count(*) FILTER (WHERE NOT optional AND passed) || ' of ' || count(*) FILTER (WHERE NOT optional) || ' required tests pass, '
        || count(*) FILTER (WHERE optional AND passed) || ' of ' || count(*) FILTER (WHERE optional) || ' optional ones'
    FROM (SELECT draft, optional, result = CASE WHEN valid THEN 'valid' ELSE 'invalid' END AS passed FROM tests) t JOIN drafts d USING (draft)
    GROUP BY d.n, d.draft ORDER BY d.n;
SELECT 'failed ' || draft || ' ' || file || ' ' || what || ': ' || result FROM tests
    WHERE NOT optional AND result <> CASE WHEN valid THEN 'valid' ELSE 'invalid' END ORDER BY n;
SELECT 'known ' || t.draft || ' ' || file || ' ' || count(*) FROM tests t JOIN drafts d USING (draft)
    WHERE optional AND result <> CASE WHEN valid THEN 'valid' ELSE 'invalid' END GROUP BY d.n, t.draft, file ORDER BY d.n, file COLLATE "C";
""")
