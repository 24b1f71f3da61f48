"""What a policy would change, for everybody, before it is published.

`questions` says what must be asked so that no difference is missed, `changes` compares the decisions of
two books for one workspace or for all that are alike (`shapes`), `census` counts everybody, and
`report` says it by purpose.
"""
