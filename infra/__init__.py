"""What `cdk deploy` makes: the choices, the package, the permissions, the constructs and the stack."""
