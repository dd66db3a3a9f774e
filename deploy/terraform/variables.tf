variable "project" {
  description = "The id of the Firebase project. It must exist, with billing (the plan Blaze) and with Authentication."
  type        = string

  validation {
    condition     = !startswith(var.project, "demo-") && var.project != ""
    error_message = "A project whose id begins with demo- exists on emulators only."
  }
}

variable "region" {
  description = "Where the services and their data are. The functions are in us-central1 (functions/main.py)."
  type        = string
  default     = "us-central1"
}

variable "api_key" {
  description = "The project's web API key. It is in every web page, so it is not a secret."
  type        = string
}

variable "image" {
  description = "The image of the services with its digest, as make image prints it."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image must have a digest (…@sha256:…): a tag can move between two instances."
  }
}

variable "state_bucket" {
  description = "The bucket with Terraform's state. make deploy-plan passes it to terraform init."
  type        = string
}

variable "billing_account" {
  description = "The id of the billing account of the project."
  type        = string
}

variable "alert_email" {
  description = "The address that hears about the budget."
  type        = string
}

variable "budget" {
  description = "The budget of a month, in whole units of the currency."
  type        = number
}

variable "currency" {
  description = "The currency of the billing account (ISO 4217)."
  type        = string
}

variable "database_tier" {
  description = "The machine of Cloud SQL."
  type        = string
  default     = "db-custom-1-3840"
}

variable "database_connections" {
  description = "How many connections PostgreSQL allows. All instances of the services must fit in."
  type        = number
  default     = 400
}

variable "highly_available" {
  description = "Whether PostgreSQL and Redis have a standby in another zone. Without it, an outage of a zone stops the shop."
  type        = bool
  default     = true
}
