"""What was measured, as JSON lines, so that a second run goes on where the first one stopped."""

import json


class Store:
    def __init__(self, path, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = []
        for line in lines:
            try:
                self.records.append(json.loads(line))
            except ValueError:
                # The line in which a run was stopped.
                continue

    def add(self, record):
        self.records.append(record)
        with open(self.path, "a") as file:
            file.write(json.dumps(record) + "\n")

    def forget_refusals(self):
        self.records = [record for record in self.records if "refused" not in record]
        self.path.write_text("".join(json.dumps(record) + "\n" for record in self.records))

    def of(self, **values):
        return [record for record in self.records
                if all(record.get(key) == value for key, value in values.items())]
