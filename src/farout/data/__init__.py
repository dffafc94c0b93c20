"""Arrays in: named sets, files and folders, their splits, and where sets are found."""

from farout.data.dataset import Dataset
from farout.data.download import download_data
from farout.data.image_folders import list_pictures
from farout.data.load import load_data
from farout.data.locate import DataSetInfo, list_data
from farout.data.row_stream import RowStream
from farout.data.splits import train_test_split_indices
from farout.data.streams import open_stream

__all__ = [
    "DataSetInfo",
    "Dataset",
    "RowStream",
    "download_data",
    "list_data",
    "list_pictures",
    "load_data",
    "open_stream",
    "train_test_split_indices",
]
