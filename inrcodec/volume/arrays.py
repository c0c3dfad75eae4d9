"""Names of the array types that most modules use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bool = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Ints = NDArray[np.int64]
