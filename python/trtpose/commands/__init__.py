# SPDX-License-Identifier: Apache-2.0
"""The verbs of the command ``trtpose``, one file each: ``SUMMARY``, ``add_arguments(parser)`` and ``run(args) -> int``.

Nothing outside this folder and ``trtpose.cli`` imports from here.
"""
