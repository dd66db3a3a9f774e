# The service accounts and their roles. docs/production.md, "Service accounts", has the same as a table, and says why.
locals {
  accounts = {
    token    = "The function token, the only one that may sign custom tokens"
    user     = "User"
    product  = "Product"
    billing  = "Billing"
    delivery = "The other functions"
  }

  # Roles on the project.
  project_roles = {
    token    = ["roles/firebaseauth.viewer"]
    user     = ["roles/firebaseauth.admin"]
    product  = ["roles/firebaseauth.viewer"]
    billing  = ["roles/firebaseauth.viewer"]
    delivery = ["roles/firebaseauth.viewer", "roles/datastore.user"]
  }

  # Roles of an account on itself.
  self_roles = {
    token   = ["roles/iam.serviceAccountTokenCreator"]
    billing = ["roles/iam.serviceAccountUser"]
  }
}

resource "google_service_account" "account" {
  for_each = local.accounts

  account_id   = each.key
  display_name = each.value

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "role" {
  for_each = merge([
    for name, roles in local.project_roles : { for role in roles : "${name} ${role}" => { name = name, role = role } }
  ]...)

  project = var.project
  role    = each.value.role
  member  = google_service_account.account[each.value.name].member
}

resource "google_service_account_iam_member" "self" {
  for_each = merge([
    for name, roles in local.self_roles : { for role in roles : "${name} ${role}" => { name = name, role = role } }
  ]...)

  service_account_id = google_service_account.account[each.value.name].name
  role               = each.value.role
  member             = google_service_account.account[each.value.name].member
}

# Billing puts deliveries into the queue, and the queue calls the function as Billing.
resource "google_cloud_tasks_queue_iam_member" "billing" {
  name     = google_cloud_tasks_queue.deliver.name
  location = google_cloud_tasks_queue.deliver.location
  role     = "roles/cloudtasks.enqueuer"
  member   = google_service_account.account["billing"].member
}

resource "google_cloud_run_v2_service_iam_member" "deliver" {
  name     = "deliver"
  location = local.functions_region
  role     = "roles/run.invoker"
  member   = google_service_account.account["billing"].member

  depends_on = [terraform_data.functions]
}
