"""The whole system while things break: a random workload, faults, and an oracle that says what every replica has to hold."""
