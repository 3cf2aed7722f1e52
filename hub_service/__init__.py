"""The hub: the queue, the archive and what is desired of each node."""

from broker.extras import require

require("hub")
