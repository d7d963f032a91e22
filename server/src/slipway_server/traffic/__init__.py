# SPDX-License-Identifier: Apache-2.0
"""Recorded traffic and feedback: written by servers, read by the loop. Off until SLIPWAY_TRAFFIC_DIR is set.

recorder = Recorder(config)                     # in a server
read_traffic(folder, since, until).records      # anywhere that mounts the volume
"""

from slipway_server.traffic.config import TrafficConfig, folder_of
from slipway_server.traffic.feedback import Feedback, FeedbackStore, read_feedback
from slipway_server.traffic.forget import Forgotten, forget
from slipway_server.traffic.reading import Traffic, read_traffic
from slipway_server.traffic.record import Record, pseudonym, sampled
from slipway_server.traffic.recorder import Recorder
from slipway_server.traffic.redact import Redactor

__all__ = [
    "Feedback",
    "FeedbackStore",
    "Forgotten",
    "Record",
    "Recorder",
    "Redactor",
    "Traffic",
    "TrafficConfig",
    "folder_of",
    "forget",
    "pseudonym",
    "read_feedback",
    "read_traffic",
    "sampled",
]
