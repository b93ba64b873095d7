# SPDX-License-Identifier: Apache-2.0
"""A small server: pictures in over HTTP, people out."""
