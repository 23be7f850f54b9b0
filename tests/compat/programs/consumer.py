"""Reads what each of the producers in its arguments has put under the same names, and puts the sum."""

import sys

import numpy as np
from smartredis import Client

client = Client(cluster=False)
total = np.zeros((2, 3))
for name in sys.argv[1:]:
    client.set_data_source(name)
    assert client.poll_tensor("field", 50, 200), f"{name} has put nothing"
    total += client.get_tensor("field")
    assert client.poll_dataset("about", 50, 200), f"{name} tells nothing"
    about = client.get_dataset("about")
    number = int(about.get_meta_scalars("number")[0])
    print(name, about.get_meta_strings("author"), number, about.get_tensor("numbers").tolist())
client.put_tensor("total", total)
