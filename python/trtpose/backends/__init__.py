# SPDX-License-Identifier: Apache-2.0
"""What the native part reaches through Python: libraries whose own Python package is all that is installed."""
