// Made by `npm run generate`. Do not edit.
export interface paths {
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Health
         * @description Check that the process runs.
         */
        get: operations["health"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/products": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List Products
         * @description List products, the oldest first.
         */
        get: operations["list_products"];
        put?: never;
        /**
         * Add Product
         * @description Add a product.
         */
        post: operations["add_product"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/products/{product_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Get Product
         * @description Get one product.
         */
        get: operations["get_product"];
        put?: never;
        post?: never;
        /**
         * Delete Product
         * @description Delete a product. Existing bills keep its name and price.
         */
        delete: operations["delete_product"];
        options?: never;
        head?: never;
        /**
         * Change Product
         * @description Change the fields of a product that are sent. Existing bills keep their prices.
         */
        patch: operations["change_product"];
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Readiness
         * @description Check that the database answers and that tokens can be verified. Warn of work that waits for too long.
         */
        get: operations["readiness"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/reservations": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Reserve
         * @description Take items out of stock for a bill, all of them or none. A repeated request returns the same reservation.
         */
        post: operations["reserve"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/reservations/{bill_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Release Reservation
         * @description Put the items that are reserved for a bill back in stock. Nothing can be reserved for the bill afterwards.
         *
         *     A repeated request changes nothing.
         */
        delete: operations["release_reservation"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/reservations/{bill_id}/commit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Commit Reservation
         * @description Sell the items that are reserved for a bill. This is final; a repeated request changes nothing.
         */
        post: operations["commit_reservation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * Health
         * @description The process runs.
         */
        Health: {
            /**
             * Status
             * @default ok
             * @constant
             */
            status: "ok";
        };
        /**
         * Money
         * @description An amount of money in the minor units of its currency: 19.99 USD is `{"amount": 1999, "currency": "USD"}`.
         */
        Money: {
            /** Amount */
            amount: number;
            /**
             * Currency
             * @description Currency code (ISO 4217).
             * @example USD
             */
            currency: string;
        };
        /**
         * NewProduct
         * @description A product to add.
         */
        NewProduct: {
            /**
             * Description
             * @default
             */
            description: string;
            /** Name */
            name: string;
            price: components["schemas"]["Money"];
            /**
             * Stock
             * @description How many can still be bought.
             */
            stock: number;
        };
        /**
         * NewReservation
         * @description The items to reserve for a bill. Each product may appear only once.
         */
        NewReservation: {
            /** Bill Id */
            bill_id: string;
            /** Items */
            items: components["schemas"]["ReservationItemShape"][];
        };
        /** Page[ProductShape] */
        Page_ProductShape_: {
            /** Items */
            items: components["schemas"]["ProductShape"][];
            /**
             * Next Cursor
             * @description Send it as `cursor` to get the next page; null on the last page.
             */
            next_cursor: string | null;
        };
        /**
         * ProductChanges
         * @description The fields of a product to change. A field that is left out keeps its value; none can be null.
         */
        ProductChanges: {
            /** Description */
            description?: string;
            /** Name */
            name?: string;
            price?: components["schemas"]["Money"];
            /**
             * Stock
             * @description How many can still be bought.
             */
            stock?: number;
        };
        /**
         * Product
         * @description A product. `stock` is how many can still be bought.
         */
        ProductShape: {
            /** Description */
            description: string;
            /** Id */
            id: string;
            /** Name */
            name: string;
            price: components["schemas"]["Money"];
            /** Stock */
            stock: number;
        };
        /**
         * Readiness
         * @description The service can work.
         */
        Readiness: {
            /**
             * Status
             * @default ready
             * @constant
             */
            status: "ready";
            /**
             * Warnings
             * @description The parts that have a problem, which does not stop the service. The log has the problem.
             * @default []
             */
            warnings: string[];
        };
        /**
         * ReservationItem
         * @description A product to reserve, and how many of it.
         */
        ReservationItemShape: {
            /** Product Id */
            product_id: string;
            /** Quantity */
            quantity: number;
        };
        /**
         * ReservationLine
         * @description A reserved product. Name and price are those of the first reservation for the bill.
         */
        ReservationLineShape: {
            /** Name */
            name: string;
            price: components["schemas"]["Money"];
            /** Product Id */
            product_id: string;
            /** Quantity */
            quantity: number;
        };
        /**
         * Reservation
         * @description The reservation of a bill. While it is `held`, it may expire at `expires_at` or later.
         */
        ReservationShape: {
            /** Bill Id */
            bill_id: string;
            /**
             * Expires At
             * Format: date-time
             */
            expires_at: string;
            /** Lines */
            lines: components["schemas"]["ReservationLineShape"][];
            /**
             * Status
             * @enum {string}
             */
            status: "held" | "committed" | "released" | "expired";
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    health: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
        };
    };
    list_products: {
        parameters: {
            query?: {
                /** @description The `next_cursor` of the previous page. */
                cursor?: string | null;
                /** @description Only products with these ids: up to 100, separated by commas. Unknown ids are ignored. */
                ids?: string | null;
                /** @description Maximum number of items in the answer. */
                limit?: number;
                /** @description Only products that have all of these words in their name or description. Each may be the beginning of a word. Case, accents and punctuation do not matter. */
                q?: string | null;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Page_ProductShape_"];
                };
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    add_product: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewProduct"];
            };
        };
        responses: {
            /** @description Successful Response */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProductShape"];
                };
            };
            /** @description The body cannot be read (`body_unreadable`). */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body did not arrive in time (`body_timeout`). Nothing was done. */
            408: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body is too long (`body_too_large`). */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    get_product: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                product_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProductShape"];
                };
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description There is no such product (`product_not_found`). */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    delete_product: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                product_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description There is no such product (`product_not_found`). */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    change_product: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                product_id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ProductChanges"];
            };
        };
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ProductShape"];
                };
            };
            /** @description The body cannot be read (`body_unreadable`). */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description There is no such product (`product_not_found`). */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body did not arrive in time (`body_timeout`). Nothing was done. */
            408: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body is too long (`body_too_large`). */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    readiness: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
            /** @description The service cannot work now; `code` says what fails. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    reserve: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["NewReservation"];
            };
        };
        responses: {
            /** @description The bill has this reservation already. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ReservationShape"];
                };
            };
            /** @description Successful Response */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ReservationShape"];
                };
            };
            /** @description The body cannot be read (`body_unreadable`). */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body did not arrive in time (`body_timeout`). Nothing was done. */
            408: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description There are not enough units of a product in stock (`out_of_stock`). This bill has a reservation of other items (`reservation_differs`). The reservation was released (`reservation_released`). */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The body is too long (`body_too_large`). */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. There is no such product (`product_unknown`). */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    release_reservation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                bill_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The reserved items were sold (`reservation_committed`). */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
    commit_reservation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                bill_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The token is missing, not valid, expired, or was used before. */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The token is valid, but this caller may not make this call. */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description This bill has no reservation (`reservation_not_found`). */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The reservation has expired (`reservation_expired`). The reservation was released (`reservation_released`). */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value. */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`. */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The service, or something that it needs, is not available. Try again after `Retry-After` seconds. */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
            /** @description The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not. */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** Code */
                        code: string;
                        /** Detail */
                        detail?: string | null;
                        /** Status */
                        status: number;
                        /** Title */
                        title: string;
                        /**
                         * Type
                         * @default about:blank
                         */
                        type: string;
                    } & {
                        [key: string]: unknown;
                    };
                };
            };
        };
    };
}
