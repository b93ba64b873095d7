# SPDX-License-Identifier: Apache-2.0
"""Files of others, read and written; nothing here knows a family."""
