"""A local AWS for one machine: moto's server with functions run as deployed and IAM enforced."""
