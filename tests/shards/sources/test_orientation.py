from types import SimpleNamespace

import numpy as np
import pytest

from shards.sources.orientation import orientation


class _Unnamed:
    def get(self, _):
        raise ValueError("29 is not a valid Type")


@pytest.mark.parametrize("degrees", [0, 90, -90, 180, -180])
def test_beside_side_data_without_a_name_the_rotation_still_counts(degrees):
    image = np.arange(6).reshape(2, 3)
    turned = orientation(SimpleNamespace(side_data=_Unnamed(), rotation=degrees)).apply(image)
    assert np.array_equal(turned, np.rot90(image, degrees // 90))
