"""Parts of a task shared among forked processes, which send their tables back through pipes.

A fork has the opened models, stores and compiled loops of its parent from the first moment. What may not cross one:
threads of libraries that go on computing with them, and connections that do not notice it.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import pyarrow as pa

Part = TypeVar("Part")
_log = logging.getLogger(__name__)


def forked(work: Callable[[Part], pa.Table], parts: Sequence[Part], workers: int) -> Iterator[pa.Table]:
    """Yield `work(part)` of each part in order, computed by so many processes; tables have one schema.

    A process waits when its pipe is full, so few tables are held. What a process that ended early left undone is done
    here: so its error, if it was one, is raised here.
    """
    started: list[_Worker] = []
    # What the parent has stays as it is: a collector that went through it would copy its pages, process by process.
    gc.freeze()
    try:
        for number in range(workers):
            started.append(_Worker.start(work, parts[number::workers]))
        for number, part in enumerate(parts):
            table = started[number % workers].table()
            yield work(part) if table is None else table
    finally:
        gc.unfreeze()
        for worker in started:
            worker.end()


@dataclass
class _Worker:
    process: int
    pipe: pa.PythonFile
    stream: pa.RecordBatchReader | None = None
    ended: bool = False

    @classmethod
    def start(cls, work: Callable[[Part], pa.Table], parts: Sequence[Part]) -> _Worker:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            try:
                os.close(reading)
                _send(map(work, parts), writing)
            finally:
                # Nothing that the parent had begun is ended twice, whatever was raised.
                os._exit(0)
        os.close(writing)
        return cls(process, pa.PythonFile(os.fdopen(reading, "rb"), "r"))

    def table(self) -> pa.Table | None:
        """Return the next table, None where the process ended before it."""
        if self.ended:
            return None
        try:
            self.stream = self.stream or pa.ipc.open_stream(self.pipe)
            return pa.Table.from_batches([self.stream.read_next_batch()])
        except (StopIteration, pa.ArrowInvalid, OSError):
            self.ended = True
            _log.warning("process %d ended early: what it left undone is done by its parent", self.process)
            return None

    def end(self) -> None:
        """Stop the process wherever it is."""
        self.pipe.close()
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def _send(tables: Iterator[pa.Table], writing: int) -> None:
    with os.fdopen(writing, "wb") as pipe:
        first = next(tables, None)
        if first is None:
            return
        with pa.ipc.new_stream(pipe, first.schema) as stream:
            for table in chain([first], tables):
                stream.write_batch(_batch(table))
                pipe.flush()


def _batch(table: pa.Table) -> pa.RecordBatch:
    """Return the table as one batch, also where it has no rows."""
    if table.num_rows:
        return table.combine_chunks().to_batches()[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)
