"""Reading the usage table as an analyst does: plain Parquet files and DuckDB, nothing of Tollgate's."""

import re

from pathlib import Path

import duckdb
from support import eventually

# What was last asked of a table, with the files that it had, and the answer: who waits for a row asks often and files come seldom.
_last = {}


class Ledger:
    """The usage table under a directory, which holds `usage/date=…/*.parquet`; or its sibling, `usage_superseded`."""

    def __init__(self, root, table="usage"):
        self.root, self.table = Path(root), table

    def superseded(self):
        return Ledger(self.root, "usage_superseded")

    def files(self):
        return sorted((self.root / self.table).glob("date=*/*.parquet"))

    def query(self, sql):
        """Rows as dictionaries; `usage` in the statement is the table."""
        files = [str(path) for path in self.files()]
        if not files:
            return []
        place, asked = (self.root, self.table), (sql, [(file, Path(file).stat().st_mtime_ns) for file in files])
        if place not in _last or _last[place][0] != asked:
            _last[place] = (asked, self._answer(sql, files))
        return [dict(row) for row in _last[place][1]]

    @staticmethod
    def _answer(sql, files):
        with duckdb.connect() as db:
            db.execute("SET TimeZone = 'UTC'")
            db.execute(f"CREATE VIEW usage AS SELECT * FROM read_parquet({files!r}, hive_partitioning = false)")
            cursor = db.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def count(self):
        found = self.query("SELECT count(*) AS n FROM usage")
        return found[0]["n"] if found else 0

    def row(self, request_id):
        """The row of a request, waiting for it; times as microseconds since the Unix epoch."""
        # DuckDB gives a time with a zone as a Python object that needs one more package, so times are turned into numbers.
        one = f"FROM usage WHERE request_id = '{request_id}'"
        sql = f"SELECT * EXCLUDE (event_time, routing_information), epoch_us(event_time) AS event_time {one}"
        rows = eventually(lambda: self.query(sql), f"the row of {request_id}", 40)
        assert len(rows) == 1, f"request {request_id} has more than one row"
        attempts = self.query(
            f"""SELECT unnest([
                    struct_update(a, start_time := epoch_us(a.start_time), end_time := epoch_us(a.end_time))
                    for a in routing_information.attempts
                ]) AS attempt {one}"""
        )
        return {**rows[0], "attempts": [found["attempt"] for found in attempts]}

    def footers(self):
        """File name → the footer's `tollgate.` statements, without that prefix."""
        out = {}
        for path in self.files():
            with duckdb.connect() as db:
                pairs = db.execute("SELECT key, value FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
            named = {bytes(key).decode(): bytes(value).decode() for key, value in pairs}
            out[path.name] = {k.removeprefix("tollgate."): v for k, v in named.items() if k.startswith("tollgate.")}
        return out

    def assert_contiguous(self):
        """Every file is named by a record it covers, and the ranges of a partition's files join without gap or overlap;
        each epoch begins anew."""
        name, next_offset = re.compile(r"(.+)-(\d+)-(\d+)-(\d{20})\.parquet"), {}
        footers = sorted(self.footers().items(), key=lambda item: int(item[1]["first_offset"]))
        for file, footer in footers:
            cluster, epoch, partition, offset = name.fullmatch(file).groups()
            first, last = int(footer["first_offset"]), int(footer["last_offset"])
            assert (epoch, partition) == (footer["epoch"], footer["partition"])
            assert first <= int(offset) <= last
            log = (epoch, partition)
            assert next_offset.setdefault(log, first) == first, f"a gap or an overlap before {file}"
            next_offset[log] = last + 1
            assert cluster.endswith(footer["cluster_id"]) or "_" in cluster
        return next_offset


def s3_options(address):
    """`storage.options` for an S3 endpoint of moto."""
    return {
        "aws_access_key_id": "e2e",
        "aws_secret_access_key": "e2e-secret",
        "aws_region": "us-east-1",
        "aws_endpoint": address,
        "aws_allow_http": "true",
    }


def ledger_of(gateway):
    """The table of a gateway that keeps it under its data directory."""
    return Ledger(gateway.data_dir)


def ledger_of_bucket(client, bucket, prefix, folder):
    """A local copy of a table in a bucket, made anew at each call."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            path = Path(folder) / found["Key"].removeprefix(prefix).lstrip("/")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(bucket, found["Key"], str(path))
    return Ledger(folder)
