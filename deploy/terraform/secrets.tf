# What docs/production.md lists under "Secrets". A service may read its own secrets only.
locals {
  secret_values = merge(
    {
      for name in keys(local.services) : "${name}-database-url" =>
      "postgresql+asyncpg://${name}:${random_password.database[name].result}@${google_sql_database_instance.shop.private_ip_address}/${name}?ssl=require"
    },
    {
      for name in keys(local.services) : "${name}-replay-url" =>
      "rediss://:${google_redis_instance.shop.auth_string}@${google_redis_instance.shop.host}:${google_redis_instance.shop.port}/0?ssl_ca_certs=/secrets/redis/ca.pem"
    },
    { for name in keys(local.services) : "${name}-nonce-secret" => random_password.nonce[name].result },
    { "redis-ca" = join("\n", google_redis_instance.shop.server_ca_certs[*].cert) },
  )

  # Who reads which secret.
  secret_readers = merge(
    { for pair in setproduct(keys(local.services), ["database-url", "replay-url", "nonce-secret"]) :
    "${pair[0]}-${pair[1]}" => { secret = "${pair[0]}-${pair[1]}", name = pair[0] } },
    { for name in keys(local.services) : "redis-ca ${name}" => { secret = "redis-ca", name = name } },
  )
  secret_names = toset([for reader in local.secret_readers : reader.secret])
}

resource "random_password" "nonce" {
  for_each = local.services

  length  = 48
  special = false
}

resource "google_secret_manager_secret" "secret" {
  for_each = local.secret_names

  secret_id = each.key

  replication {
    auto {}
  }

  depends_on = [google_project_service.api]
}

resource "google_secret_manager_secret_version" "current" {
  for_each = local.secret_names

  secret      = google_secret_manager_secret.secret[each.key].id
  secret_data = local.secret_values[each.key]

  # The former version stays until no instance uses it: a revision names the version that it reads.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = local.secret_readers

  secret_id = google_secret_manager_secret.secret[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.account[each.value.name].member
}
