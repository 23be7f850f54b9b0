"""Puts one tensor, made of the number in its arguments, and a dataset that tells of it."""

import sys

import numpy as np
from smartredis import Client, Dataset

number = int(sys.argv[1])
client = Client(cluster=False)
client.put_tensor("field", np.full((2, 3), number, dtype=np.float64))

about = Dataset("about")
about.add_tensor("numbers", np.arange(number))
about.add_meta_string("author", f"producer {number}")
about.add_meta_scalar("number", number)
client.put_dataset(about)
client.append_to_list("all", about)
