"""A streaming server as EIR's guide builds one, with FastAPI; nothing here comes from smartml.

usage: python eir_server.py PORT [--samples N] [--array]

A simulator with one position for all clients makes texts, or arrays of shape (3, 64, 64); a reset of any client begins
it anew and is told to all of them; validation ids are confirmed, and served nevertheless.
"""

import argparse
import base64

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

VERSION = "1.0"


class Simulator:
    """Makes samples, one after the other."""

    def __init__(self, number, is_array):
        self.number, self.position, self.is_array = number, 0, is_array
        self._arrays = np.random.default_rng(1).random((64, 3, 64, 64), dtype="float32")

    def info(self):
        if self.is_array:
            return {"inputs": {"x": {"type": "array", "shape": [3, 64, 64]}}, "outputs": {"y": {"type": "tabular"}}}
        return {"inputs": {"text": {"type": "sequence"}}, "outputs": {"reply": {"type": "sequence", "shape": None}}}

    def sample(self, number):
        if self.is_array:
            raw = self._arrays[number % len(self._arrays)].tobytes()
            inputs = {"x": base64.b64encode(raw).decode("utf-8")}
            targets = {"y": {"y": float(number)}}
        else:
            reply = f"count down from {number} to {number // 2}"
            inputs = {"text": f"begin at {number}", "reply": reply}
            targets = {"reply": {"reply": reply}}
        return {"inputs": inputs, "target_labels": targets, "sample_id": f"sim_{number}"}

    def batch(self, size):
        first = self.position
        self.position = min(first + size, self.number)
        return [self.sample(number) for number in range(first, self.position)]


def create(simulator):
    app = FastAPI()
    connections = []
    validation_ids = set()

    async def handle(websocket, message):
        kind = message.get("type")
        payload = message.get("payload") or {}
        if kind == "getInfo":
            await websocket.send_json({"type": "info", "payload": simulator.info()})
        elif kind == "getData":
            batch = simulator.batch(payload.get("batch_size", 32))
            await websocket.send_json({"type": "data", "payload": batch or ["terminate"]})
        elif kind == "heartbeat":
            await websocket.send_json({"type": "heartbeat"})
        elif kind == "status":
            status = {"current_position": simulator.position, "active_connections": len(connections)}
            await websocket.send_json({"type": "status", "payload": status})
        elif kind == "setValidationIds":
            validation_ids.clear()
            validation_ids.update(payload["validation_ids"])
            told = {"message": f"Received {len(validation_ids)} validation IDs"}
            await websocket.send_json({"type": "validationIdsConfirmation", "payload": told})
        elif kind == "reset":
            simulator.position = 0
            await websocket.send_json({"type": "resetConfirmation", "payload": {"message": "Reset successful"}})
            for connection in connections:
                await connection.send_json({"type": "reset", "payload": {"message": "Simulation has been reset"}})
        else:
            await websocket.send_json({"type": "error", "payload": {"message": f"Unknown message type: {kind}"}})

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket):
        await websocket.accept()
        first = await websocket.receive_json()
        if first.get("type") != "handshake" or first.get("version") != VERSION:
            await websocket.send_json({"type": "error", "payload": {"message": "Incompatible protocol version"}})
            await websocket.close()
            return
        await websocket.send_json({"type": "handshake", "version": VERSION})
        connections.append(websocket)
        try:
            while True:
                await handle(websocket, await websocket.receive_json())
        except WebSocketDisconnect:
            pass
        finally:
            connections.remove(websocket)

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--array", action="store_true")
    options = parser.parse_args()
    application = create(Simulator(options.samples, options.array))
    uvicorn.run(application, host="127.0.0.1", port=options.port, ws_ping_timeout=3600, log_level="warning")
