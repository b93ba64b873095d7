# SPDX-License-Identifier: Apache-2.0
"""The demo network: drawn pictures of people, a small pose network, its training and its export."""
