"""Publishes protobuf frames with paho-mqtt and stubs that protoc generated: nothing of Wardline's own code.

Prints one line per acknowledged frame: "acked SEQ".
"""

import argparse
import ssl
import time

import paho.mqtt.client as mqtt
from wardline.v1 import frame_pb2

HEART_RATE = 147842  # MDC_ECG_HEART_RATE


def frame(epoch: int, seq: int, value: float) -> bytes:
    now_us = time.time_ns() // 1000
    series = frame_pb2.NumericSeries(
        mdc_code=HEART_RATE, ucum_unit="/min", start_us=now_us, time_deltas_us=[0], values=[value]
    )
    return frame_pb2.Frame(
        epoch=epoch,
        seq=seq,
        sent_at_us=now_us,
        encoding=frame_pb2.ENCODING_IDENTITY,
        lane=frame_pb2.LANE_NUMERICS,
        body=frame_pb2.Body(numerics=[series]).SerializeToString(),
    ).SerializeToString()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certs", required=True, help="folder with cert.pem, key.pem and ca.pem")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--epoch", type=int, default=time.time_ns() // 1000)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--mqtt", type=int, choices=(4, 5), default=5)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    protocol = mqtt.MQTTv5 if args.mqtt == 5 else mqtt.MQTTv311
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=args.device, protocol=protocol)
    client.tls_set(
        ca_certs=f"{args.certs}/ca.pem",
        certfile=f"{args.certs}/cert.pem",
        keyfile=f"{args.certs}/key.pem",
        tls_version=ssl.PROTOCOL_TLS_CLIENT,
    )
    client.connect("localhost", args.port)
    client.loop_start()
    topic = f"wl/1/{args.tenant}/{args.device}/up/telemetry"
    for seq in range(1, args.frames + 1):
        sent = client.publish(topic, frame(args.epoch, seq, 60.0 + seq), qos=1)
        sent.wait_for_publish(timeout=20)
        if not sent.is_published():
            raise SystemExit(f"frame {seq} was not acknowledged")
        print(f"acked {seq}", flush=True)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
