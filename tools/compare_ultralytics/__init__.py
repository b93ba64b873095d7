# SPDX-License-Identifier: Apache-2.0
"""Today's pose exports of Ultralytics in trtpose, beside what that program itself finds with them."""
