"""Tables as people have them: a schema of their columns, encoded as numbers and decoded to the same frame."""

from farout.columns.column import Column
from farout.columns.frames import as_table, frame_of, from_bytes, is_frame, library_of, to_bytes
from farout.columns.schema import Schema

__all__ = ["Column", "Schema", "as_table", "frame_of", "from_bytes", "is_frame", "library_of", "to_bytes"]
