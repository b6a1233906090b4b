"""The work of single stages: training under Ray Train, embedding, scoring and testing as Ray Data jobs, shard writing.

May import `cluster`, `progress` and `config`; knows no plan and no other stage.
"""
