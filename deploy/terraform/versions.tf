# The state has the passwords of the databases and of Redis: whoever reads the bucket can use them. Its name is in
# deploy.tfvars, and `make deploy-plan` passes it on.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50" # the names of its arguments are checked against 6.50 (tests/deploy/test_terraform.py)
    }
    local = {
      source  = "hashicorp/local"
      version = "~> 2.5"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.6"
    }
  }

  backend "gcs" {
    prefix = "shop"
  }
}

# Budgets need the project in each request if a person runs Terraform (google_billing_budget).
provider "google" {
  project               = var.project
  region                = var.region
  billing_project       = var.project
  user_project_override = true
}
