"""The portal: pages, REST and live data for browsers."""

from broker.extras import require

require("portal")
