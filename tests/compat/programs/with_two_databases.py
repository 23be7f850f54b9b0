"""Takes a tensor out of one database, and puts twice of it into another."""

from smartredis import Client, ConfigOptions

hot = Client(ConfigOptions.create_from_environment("hot"), logger_name="reader of the hot one")
cold = Client(ConfigOptions.create_from_environment("cold"), logger_name="writer of the cold one")
assert hot.poll_tensor("given", 50, 100), "nothing was given"
cold.put_tensor("taken", 2 * hot.get_tensor("given"))
print(hot.tensor_exists("taken"), cold.tensor_exists("given"))
