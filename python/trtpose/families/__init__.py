# SPDX-License-Identifier: Apache-2.0
"""What is true of one family of networks, a folder each."""
