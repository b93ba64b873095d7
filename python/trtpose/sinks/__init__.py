# SPDX-License-Identifier: Apache-2.0
"""Where results go: annotated pictures and videos, and the stream of poses in JSON. Each file is whole or absent."""
