"""Loaders of training data: by the names of SmartSim 0.8, and of 0.4.1 where tensors are found by their keys."""

from importlib.util import find_spec

import pytest

OURS = ["--no-real-smartredis"]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch (pip install smartml[torch])")


def test_what_an_uploader_puts_a_downloader_serves(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client
        from smartsim.ml import DataDownloader, DataInfo, TrainingDataUploader, form_name
        uploader = TrainingDataUploader(list_name="flow", num_classes=4, cluster=False, rank=2)
        uploader.publish_info()
        for number in range(3):
            uploader.put_batch(np.full((8, 2), number, "f4"), np.arange(8) % 4)
        feed = DataDownloader("flow", batch_size=5, max_fetch_trials=3, wait_interval=5.0, shuffle=False)
        print(len(feed), feed.num_samples, feed.list_name, feed.sample_name, feed.target_name, feed.num_classes)
        print(feed.need_targets, feed.autoencoding, feed.cluster, feed.batch_size, feed.dynamic, feed.replica_rank)
        batches = list(feed)
        print(len(batches), batches[0][0].shape, feed.samples.shape, form_name("a", None, 3))
        uploader.put_batch(np.full((8, 2), 9, "f4"), np.arange(8) % 4)
        print(len(list(feed)), uploader.batch_idx, uploader.rank)
        info = DataInfo("flow", "x", "y")
        info.download(Client(cluster=False))
        print(repr(info).splitlines())
        missing = DataInfo("nothing", "x")
        missing.download(Client(cluster=False))
        print(missing.sample_name)
        """,
        flags=OURS,
        env=database,
    )
    assert [line for line in lines if "WARNING" not in line] == [
        "4 24 flow samples targets 4",
        "True False False 5 True 0",
        "4 (5, 2) (24, 2) a_3",
        "6 4 2",
        "['DataInfo object', 'Aggregation list name: flow', 'Sample tensor name: samples', "
        "'Target tensor name: targets', 'Number of classes: 4']",
        "x",
    ]
    assert sum("nothing was published under nothing_info" in line for line in lines) == 1


def test_a_downloader_gives_up_with_smartsims_error(program, database):
    lines = program(
        """
        from smartsim.error import SSInternalError
        from smartsim.ml import DataDownloader, TrainingDataUploader
        TrainingDataUploader(cluster=False).publish_info()
        feed = DataDownloader("training_data", init_samples=False)
        for act in (lambda: feed.init_samples(0), lambda: feed.init_samples(2, 0.05),
                    lambda: DataDownloader("training_data", max_fetch_trials=1, wait_interval=0.05)):
            try:
                act()
            except SSInternalError as error:
                print("gave up", isinstance(error, TimeoutError))
        for wrong in (lambda: TrainingDataUploader(list_name=""), lambda: DataDownloader(3)):
            try:
                wrong()
            except (TypeError, ValueError) as error:
                print("wrong", end=" ")
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["gave up True"] * 3 + ["wrong wrong "]


def test_replicas_share_what_was_put(program, database):
    lines = program(
        """
        import threading
        import numpy as np
        from smartsim.ml import DataDownloader, TrainingDataUploader
        uploader = TrainingDataUploader(cluster=False)
        uploader.publish_info()
        for number in range(4):
            uploader.put_batch(np.full((4, 1), number, "f4"), np.full((4, 1), number, "f4"))
        seen = {}
        def train(rank):
            feed = DataDownloader("training_data", batch_size=4, replica_rank=rank, num_replicas=2)
            seen[rank] = {float(value) for x, y in feed for value in x.ravel()}
        threads = [threading.Thread(target=train, args=[rank]) for rank in range(2)]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        print(sorted(seen[0] | seen[1]), seen[0] & seen[1], len(seen[0]), len(seen[1]))
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["[0.0, 1.0, 2.0, 3.0] set() 2 2"]


def test_tensors_of_0_4_1_are_put_and_followed_by_their_keys(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client
        from smartsim.ml import DynamicDataDownloader, TrainingDataUploader
        ranks = [TrainingDataUploader(name="flow", sample_prefix="x", target_prefix="y", num_ranks=2, rank=rank)
                 for rank in range(2)]
        ranks[0].publish_info()
        for step in range(3):
            for rank in ranks:
                rank.put_batch(np.full((4, 2), step, "f4"), np.full((4, 1), step, "f4"))
        client = Client(cluster=False)
        # The iteration comes first, as in the code of those releases.
        print(client.tensor_exists("x_2_1"), client.tensor_exists("x_1_2"), client.dataset_exists("flow_info"))
        feed = DynamicDataDownloader(uploader_name="flow", batch_size=6)
        print(feed.num_samples, len(feed), all((x[:, :1] == y).all() for x, y in feed))
        for rank in ranks:
            rank.put_batch(np.full((4, 2), 3, "f4"), np.full((4, 1), 3, "f4"))
        print(len(list(feed)))
        alone = DynamicDataDownloader(uploader_info="manual", sample_prefix="x", target_prefix="", uploader_ranks=2,
                                      batch_size=16)
        print([batch.shape for batch in alone])
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["True False True", "24 4 True", "5", "[(16, 2), (16, 2)]"]


def test_the_order_of_the_pages_of_0_4_1_can_be_asked_for(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client
        from smartsim.ml import DynamicDataDownloader
        client = Client(cluster=False)
        for rank in range(3):
            client.put_tensor(f"x_{rank}_0", np.full((4, 1), rank, "f4"))
        feed = DynamicDataDownloader(uploader_info="manual", sample_prefix="x", target_prefix="", uploader_ranks=3,
                                     key_order="rank_iteration", batch_size=4)
        print(sorted({float(value) for x in feed for value in x.ravel()}))
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["[0.0, 1.0, 2.0]"]


def test_tensors_of_0_4_1_without_iterations_are_fetched_once(program, database):
    lines = program(
        """
        import numpy as np
        from smartredis import Client
        from smartsim.error import SmartSimError
        from smartsim.ml import StaticDataDownloader
        client = Client(cluster=False)
        for rank in range(3):
            client.put_tensor(f"x_{rank}", np.full((4, 2), rank, "f4"))
            client.put_tensor(f"y_{rank}", np.full(4, rank))
        how = dict(uploader_info="manual", sample_prefix="x", target_prefix="y", uploader_ranks=3, batch_size=2)
        feed = StaticDataDownloader(num_classes=3, **how)
        print(len(feed), feed.num_samples, feed.sources, feed.sub_indices)
        print(all((x[:, 0] == y.argmax(axis=1)).all() and y.shape == (2, 3) for x, y in feed))
        shares = [StaticDataDownloader(replica_rank=rank, num_replicas=2, **how).sources for rank in range(2)]
        print(shares)
        late = StaticDataDownloader(init_samples=False, **how)
        late.init_samples([["", "1"]])
        print(late.samples.tolist()[0], late.num_samples)
        for wrong in (lambda: StaticDataDownloader(uploader_info="nothing"),
                      lambda: StaticDataDownloader(uploader_info="auto", uploader_name="")):
            try:
                wrong()
            except ValueError:
                print("wrong", end=" ")
        """,
        flags=OURS,
        env=database,
    )
    assert lines == [
        "6 12 [['', '0'], ['', '1'], ['', '2']] ['0', '1', '2']",
        "True",
        "[[['', '0']], [['', '1'], ['', '2']]]",
        "[1.0, 1.0] 4",
        "wrong wrong ",
    ]


@needs_torch
def test_generators_of_pytorch_serve_both_releases(program, database):
    lines = program(
        """
        import numpy as np
        import torch
        from smartredis import Client
        from smartsim.ml import TrainingDataUploader
        from smartsim.ml.torch import DataLoader, DynamicDataGenerator, StaticDataGenerator
        if __name__ == "__main__":
            uploader = TrainingDataUploader(cluster=False)
            uploader.publish_info()
            for number in range(4):
                uploader.put_batch(np.full((4, 2), number, "f4"), np.full((4, 1), number, "f4"))
            generator = DynamicDataGenerator(data_info_or_list_name="training_data", batch_size=4, dynamic=True)
            loader = DataLoader(generator, batch_size=None, num_workers=1)
            print(len([x for x, y in loader if isinstance(x, torch.Tensor)]), generator.list_name)
            client = Client(cluster=False)
            for rank in range(2):
                client.put_tensor(f"old_{rank}", np.full((4, 2), rank, "f4"))
            how = dict(uploader_info="manual", sample_prefix="old", target_prefix="", uploader_ranks=2, batch_size=4)
            static = StaticDataGenerator(init_samples=False, **how)
            values = sorted(float(x[0, 0]) for x in DataLoader(static, batch_size=None, num_workers=2))
            print(values)
            for step in range(2):
                for rank in range(2):
                    client.put_tensor(f"old_{step}_{rank}", np.full((4, 2), 1, "f4"))
            print(len(list(DynamicDataGenerator(init_samples=False, **how))))
        """,
        flags=OURS,
        env=database,
    )
    assert lines == ["4 training_data", "[0.0, 1.0]", "4"]


@pytest.mark.long
def test_generators_of_keras_and_frozen_models_of_tensorflow(program, database):
    pytest.importorskip("tensorflow", reason="needs TensorFlow (pip install smartml[tensorflow])")
    lines = program(
        """
        import warnings
        warnings.simplefilter("default")
        import keras
        import numpy as np
        import tensorflow as tf
        from smartsim.ml import TrainingDataUploader
        from smartsim.ml.tf import DynamicDataGenerator, StaticDataGenerator, freeze_model, serialize_model
        uploader = TrainingDataUploader(cluster=False, num_classes=3)
        uploader.publish_info()
        for number in range(4):
            uploader.put_batch(np.full((4, 2), number, "f4"), np.arange(4) % 3)
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3, activation="softmax")])
        model.compile(loss="categorical_crossentropy")
        generator = DynamicDataGenerator(data_info_or_list_name="training_data", batch_size=4, num_classes=3)
        for epoch in range(2):
            model.fit(generator, initial_epoch=epoch, epochs=epoch + 1, batch_size=generator.batch_size, verbose=0)
        static = StaticDataGenerator(data_info_or_list_name="training_data", batch_size=8)
        print(len(generator), generator[0][1].shape, len(static))
        uploader = TrainingDataUploader(sample_prefix="x", target_prefix="y")
        uploader.put_batch(np.ones((4, 2), "f4"), np.ones((4, 1), "f4"))
        earlier = DynamicDataGenerator(uploader_info="manual", sample_prefix="x", target_prefix="y", batch_size=2)
        print(len(earlier), earlier[0][0].shape)
        file, inputs, outputs = freeze_model(model, ".", "frozen")
        graph = tf.compat.v1.GraphDef()
        graph.ParseFromString(open(file, "rb").read())
        loaded = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        x = np.random.default_rng(0).random((5, 2), "f4")
        answer = loaded.prune(inputs[0] + ":0", outputs[0] + ":0")(tf.constant(x))
        print(file, np.allclose(answer, model(x)), serialize_model(model)[1:] == (inputs, outputs))
        """,
        flags=OURS,
        env={**database, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert lines[-3:] == ["4 (4, 3) 2", "2 (2, 2)", "frozen.pb True True"]
