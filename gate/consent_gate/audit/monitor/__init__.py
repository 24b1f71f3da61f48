"""`consent monitor`: an auditor's program that follows a ledger's log and says when something is wrong.

- `alarms`: what can be wrong, and what it means
- `memory`: what was followed so far, in a file
- `folding`: events, by the rules and by the domain's own fold
- `witnesses`: what witnesses saw, against what is served
- `sample`: what the ledger answers, against what its log says
- `look`: one look at all of it
- `webhook`: telling somebody
"""
