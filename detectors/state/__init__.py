"""What is kept of customers: columns by slot, the directory of customers, stores and logs."""
