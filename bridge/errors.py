"""What can go wrong in the bridge's world.

BridgeError                        the process stops with this sentence and exit code 1
├── SettingsError                  the settings contradict each other or name a file that is not there
├── BrokerUnavailableError         no broker answered in the time that it was given
├── BrokerRefusedError             the broker answered, and refused
├── TopicsMissingError             topics are not there and may not be made
├── DeliveryError                  outputs were not confirmed, so nothing of their poll was committed
├── ModelProcessError              the process that holds the model ended
├── DeafConsumerError              transactions wait and none arrives, not even over new connections
└── TransactionsFileError          the file to stream cannot be used

Bad input is none of these: it is a value, `bridge.codec.DeadLetter`, that flows on to a topic of its own.
"""


class BridgeError(Exception):
    """A broken world; its message is one sentence for the person who runs the process."""


class SettingsError(BridgeError):
    """The settings contradict each other or name a file that is not there."""


class BrokerUnavailableError(BridgeError):
    """No broker answered in the time that it was given."""


class BrokerRefusedError(BridgeError):
    """The broker answered, and refused."""


class TopicsMissingError(BridgeError):
    """Topics are not there and may not be made."""


class DeliveryError(BridgeError):
    """Outputs were not confirmed by the broker, so nothing of their poll was committed."""


class ModelProcessError(BridgeError):
    """The process that holds the model ended."""


class DeafConsumerError(BridgeError):
    """Transactions wait and none arrives, not even over new connections."""


class TransactionsFileError(BridgeError):
    """The file whose rows are to be streamed cannot be used."""
